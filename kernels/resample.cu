// The fused kernel: gather, interpolate, rescale, window, add noise and cast, one pass over the voxels.
//
// The semantics are those of resample.py, which is the reference, and the noise that of noise.py. Everything but the
// kernel itself is plain C++ that a host compiler reads too, and must be compiled without contraction to fused
// multiply-adds (OPTIONS of fused.py): then positions have the bits of the reference, so ties and edges fall alike.
// It includes nothing, so that it can be compiled at run time without headers.

#ifdef __CUDACC__
#define DEVICE __device__ __forceinline__
#else
#include <cmath>
#define DEVICE inline
#endif

enum Mode { NEAREST, LINEAR, AREA };

// Slices that one thread samples: as many as one Philox counter gives random words.
constexpr int COLUMN = 4;

// TASK of fused.py, field by field.
struct Task {
    double matrix[12];            // [3,4]: index (d,h,w) of an output voxel's centre to an input index
    int in_shape[3];              // D,H,W
    int out_shape[3];
    unsigned int noise_words[4];  // two words of the key, epoch, position
    float slope, offset;          // voxel * slope + offset, then
    float low, gain;              // (value - low) * gain clamped to 0...1, if gain > 0
    float fill;                   // outside the field of view, instead of voxel * slope + offset
    float noise_std;              // of what is added last; 0 for none
};

struct bfloat16 {
    unsigned short bits;
};

DEVICE int clamp(int index, int end) { return index < 0 ? 0 : index > end ? end : index; }

// ---- interpolation: the value at an input index inside the field of view ----

template <typename In>
DEVICE float sample_nearest(const In* voxels, const Task& task, const double* at) {
    int index[3];
    for (int axis = 0; axis < 3; ++axis)
        index[axis] = clamp(static_cast<int>(floor(at[axis] + 0.5)), task.in_shape[axis] - 1);
    return voxels[(index[0] * task.in_shape[1] + index[1]) * task.in_shape[2] + index[2]];
}

DEVICE float mix(float first, float second, float share) { return first + share * (second - first); }

template <typename In>
DEVICE float sample_linear(const In* voxels, const Task& task, const double* at) {
    const int stride[3] = {task.in_shape[1] * task.in_shape[2], task.in_shape[2], 1};
    int near[3][2];
    float share[3];
    for (int axis = 0; axis < 3; ++axis) {
        const double below = floor(at[axis]);
        for (int side = 0; side < 2; ++side)
            near[axis][side] = clamp(static_cast<int>(below) + side, task.in_shape[axis] - 1) * stride[axis];
        share[axis] = static_cast<float>(at[axis] - below);
    }
    float row[2][2];
    for (int d = 0; d < 2; ++d)
        for (int h = 0; h < 2; ++h) {
            // Added in this order, what does not depend on the slice is shared by the voxels of a column.
            const float first = voxels[near[1][h] + near[2][0] + near[0][d]];
            row[d][h] = mix(first, voxels[near[1][h] + near[2][1] + near[0][d]], share[2]);
        }
    return mix(mix(row[0][0], row[0][1], share[1]), mix(row[1][0], row[1][1], share[1]), share[0]);
}

// How much of a box from -half to half lies on the voxel whose centre is at `x`.
DEVICE float overlap(float x, float half) { return fmaxf(fminf(x + 0.5f, half) - fmaxf(x - 0.5f, -half), 0.0f); }

// Mean over a box of max(1, step) voxels along each axis, over the part of it inside the volume.
template <typename In>
DEVICE float sample_area(const In* voxels, const Task& task, const double* at) {
    int first[3], last[3];
    float half[3], start[3], volume = 1;
    for (int axis = 0; axis < 3; ++axis) {
        const double reach = fmax(1.0, fabs(task.matrix[axis * 5])) / 2, end = task.in_shape[axis] - 1.0;
        first[axis] = static_cast<int>(fmax(floor(at[axis] - reach + 0.5), 0.0));
        last[axis] = static_cast<int>(fmin(floor(at[axis] + reach + 0.5), end));
        start[axis] = static_cast<float>(first[axis] - at[axis]);
        half[axis] = static_cast<float>(reach);
        volume *= static_cast<float>(fmin(reach, end + 0.5 - at[axis]) - fmax(-reach, -0.5 - at[axis]));
    }
    float sum = 0;
    for (int d = first[0]; d <= last[0]; ++d) {
        const float share_d = overlap(d - first[0] + start[0], half[0]);
        for (int h = first[1]; h <= last[1]; ++h) {
            const float share_dh = share_d * overlap(h - first[1] + start[1], half[1]);
            const In* row = voxels + (d * task.in_shape[1] + h) * task.in_shape[2];
            for (int w = first[2]; w <= last[2]; ++w)
                sum += share_dh * overlap(w - first[2] + start[2], half[2]) * row[w];
        }
    }
    return sum / volume;
}

template <typename In, Mode MODE>
DEVICE float sample(const In* voxels, const Task& task, const double* at) {
    if (MODE == NEAREST) return sample_nearest(voxels, task, at);
    if (MODE == LINEAR) return sample_linear(voxels, task, at);
    return sample_area(voxels, task, at);
}

// ---- noise ----

// Philox4x32-10: four random words of a counter, in place.
DEVICE void philox(unsigned int* word, unsigned int key0, unsigned int key1) {
    for (int round = 0; round < 10; ++round) {
        const unsigned long long first = 0xD2511F53ull * word[0], second = 0xCD9E8D57ull * word[2];
        word[0] = static_cast<unsigned int>(second >> 32) ^ word[1] ^ key0;
        word[1] = static_cast<unsigned int>(second);
        word[2] = static_cast<unsigned int>(first >> 32) ^ word[3] ^ key1;
        word[3] = static_cast<unsigned int>(first);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

// Two normal numbers of two random words.
DEVICE void box_muller(unsigned int first, unsigned int second, float* out) {
    const float radius = sqrtf(-2.0f * logf(first * 0x1p-32f + 0x1p-33f));
    const float turn = second * 0x1p-32f + 0x1p-33f;
    float sine, cosine;
#ifdef __CUDACC__
    sincospif(2.0f * turn, &sine, &cosine);  // of half turns: no range reduction, no local memory
#else
    sine = sinf(6.2831853f * turn), cosine = cosf(6.2831853f * turn);
#endif
    out[0] = radius * cosine;
    out[1] = radius * sine;
}

// Standard normal noise of the COLUMN voxels of a column.
DEVICE void normal(const Task& task, unsigned int counter, float* out) {
    unsigned int word[4] = {counter, task.noise_words[3], task.noise_words[2], 0};
    philox(word, task.noise_words[0], task.noise_words[1]);
    box_muller(word[0], word[1], out);
    box_muller(word[2], word[3], out + 2);
}

// ---- output ----

DEVICE void store(float value, float* out) { *out = value; }

// Integers are rounded, halves to even, and clipped.
DEVICE void store(float value, unsigned char* out) {
    *out = static_cast<unsigned char>(fminf(fmaxf(rintf(value), 0.0f), 255.0f));
}
DEVICE void store(float value, short* out) {
    *out = static_cast<short>(fminf(fmaxf(rintf(value), -32768.0f), 32767.0f));
}
DEVICE void store(float value, unsigned short* out) {
    *out = static_cast<unsigned short>(fminf(fmaxf(rintf(value), 0.0f), 65535.0f));
}

// To the nearest bfloat16, halves to even; nan stays nan.
DEVICE void store(float value, bfloat16* out) {
    union {
        float value;
        unsigned int bits;
    } word = {value};
    const unsigned int rounded = (word.bits + 0x7FFFu + (word.bits >> 16 & 1u)) >> 16;
    out->bits = static_cast<unsigned short>(value != value ? 0x7FC0u : rounded);
}

// ---- the body of a thread ----

// Where an output voxel looks in the input, and whether that is in the field of view, which ends half a voxel beyond
// the outermost centres; index 0 stands in for what is outside. The order of the sums is that of the reference. A matrix
// that only scales gives the same bits without the products by zero, and what H and W say once for a whole column.
template <bool SCALES>
DEVICE bool locate(const Task& task, int d, int h, int w, double* at) {
    const double edge = 1e-6;  // EDGE of resample.py
    const int index[3] = {d, h, w};
    bool inside = true;
    for (int axis = 0; axis < 3; ++axis) {
        const double* row = task.matrix + axis * 4;
        at[axis] = SCALES ? index[axis] * row[axis] + row[3] : d * row[0] + (h * row[1] + w * row[2] + row[3]);
        const bool within = (at[axis] >= -0.5 - edge) & (at[axis] <= task.in_shape[axis] - 0.5 + edge);  // no branch
        at[axis] = within ? at[axis] : 0.0;
        inside &= within;
    }
    return inside;
}

DEVICE float rescale_and_window(float value, bool inside, const Task& task) {
    const float rescaled = inside ? value * task.slope + task.offset : task.fill;
    return task.gain > 0 ? fminf(fmaxf((rescaled - task.low) * task.gain, 0.0f), 1.0f) : rescaled;
}

// One column: output voxels (column * COLUMN ... + 3, h, w).
template <typename In, typename Out, Mode MODE, bool SCALES>
DEVICE void resample_column(const In* voxels, Out* out, const Task& task, int column, int h, int w) {
    const int plane = task.out_shape[1] * task.out_shape[2], place = h * task.out_shape[2] + w;
    float value[COLUMN], noise[COLUMN] = {};
#pragma unroll
    for (int lane = 0; lane < COLUMN; ++lane) {
        double at[3];
        const bool inside = locate<SCALES>(task, column * COLUMN + lane, h, w, at);
        value[lane] = rescale_and_window(sample<In, MODE>(voxels, task, at), inside, task);
    }
    if (task.noise_std > 0) normal(task, column * plane + place, noise);
#pragma unroll
    for (int lane = 0; lane < COLUMN; ++lane) {
        const int d = column * COLUMN + lane;
        if (d < task.out_shape[0]) store(value[lane] + task.noise_std * noise[lane], out + d * plane + place);
    }
}

#ifdef __CUDACC__
// Grid: x over W, y over H, z over columns; neighbours in a warp are neighbours in W, so reads and writes coalesce.
template <typename In, typename Out, Mode MODE, bool SCALES>
__global__ void __launch_bounds__(256, 3)
    resample(const In* __restrict__ voxels, Out* __restrict__ out, const Task task) {
    const int w = blockIdx.x * blockDim.x + threadIdx.x, h = blockIdx.y * blockDim.y + threadIdx.y;
    if (w < task.out_shape[2] && h < task.out_shape[1])
        resample_column<In, Out, MODE, SCALES>(voxels, out, task, blockIdx.z, h, w);
}
#endif
