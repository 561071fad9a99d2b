"""Vocabulary of sequences: what technologists and scanners of all vendors call them.

English with the common German, French, Dutch, Spanish, Portuguese and Italian words, spelled without accents.
"""

import re

from radnet.labels.text import words

LOCALIZER = words(
    "localizer localiser localizers localisers localizador localizadores localizzatore localizzatori localizzazione "
    "localisateur locator locators lokalizer lokaliser localize locali localiz scout scouts scoutview scoutviews "
    "survey surveys survview surview surviews topogram topogramm topograms topograma topogramma topogramme topo "
    "toposcan scanogram scanogramm scanogramme scanograma scano planscan reperage centratura smartbrain aahead "
    "aascout aaspine autoalign lokalisation surveyview"
)
# Short or everyday words that nearly always mean a scout in the name of a series.
LOCALIZER_SHORT = words(
    "loc locs loca lok pilot pilots piloto pilote surv ubersicht ubersichten uebersicht localization"
)
LOCALIZER_PHRASE = re.compile(
    r" (?:3|three|tri|drei|trois|tre|tres|drie) ?(?:pl|pln|plane|planes|plan|plans|axis|axes|ebenen|vlakken|piani|"
    r"planos)(?= )| scan ?o(?= )| plan scan(?= )| auto align(?= )| smart brain(?= )| (?:ap|pa) lat(?:eral)?(?= )"
    r"| lat(?:eral)? (?:ap|pa)(?= )| vue (?:de )?face(?= )| mode radio(?= )"
)
NO_LOCALIZER = re.compile(r" (?:needle|wire|clip|hook|seed) loc| loc (?:needle|wire)")

# Read by a person or computed from other series: no acquisition of its own.
DERIVED = words(
    "sub subs subt subtr subtraction subtractions subtracted subtract subtraktion soustraction sottrazione "
    "sustraccion substraction substracted ssub ssubs ssubtraction ssubtractions gsub mip mips minip mpr mprs "
    "projection projected screenshot screensave screen reformat reformats reformatted reformated reform rfmt posdisp "
    "cad collage tumble rotate rotating vrt vr ssd fusion fused fuse segmentation podisp umap mnip symri magic "
    "synthetic mobiview report summary rendered rendering curved subtracao ssubtracao"
)
DERIVED_PHRASE = re.compile(
    r" screen ?sav\w* | processed images | volume render\w* | (?:dwi|voi|roi) mask | tumou?r mask | mask for tumou?r "
    r"| \d+ \d+ (?:\d+ )+(?=\()"
    r"| results? (?:mm|mr|ct) | snap ?shot images | captured images | exam summary | patient protocol | mip collection "
)
# What GE's add/subtract writes: (series/image)-(series/image).
# Or a difference that is written out: (T1W post contrast - T1W pre contrast).
ARITHMETIC = re.compile(
    r"\bpost\b[^()]{0,20} - [^()]{0,20}\bpre\b"
    r"|\(\s*\w+[\w/. ]*\)\s*[-+]\s*\(\s*\w+[\w/. ]*\)|\bsub_?s\d+-s\d+|\bsubtract_s\d+",
    re.I,
)
MAPS = words(
    "cbf cbv mtt ttp tmax rcbf rcbv relcbf relcbv relmtt relccbv ktrans kep iauc iaugc nei pei washin washout wash "
    "ser slope slopes pe1 pe2 pe3 pe4 pe5 pe6 pbp mtd ve vp"
)
PERFUSION = words("perf perfusion perfusie perfusione perfusio perfusao perfuzja dsc asl pasl pcasl pwi casl ep2dperf")
ADC = words("adc adcs dadc eadc adcmap adcmaps")
ADC_PHRASE = re.compile(r" apparent diffusio| average dc | coefficient d(?:e|i) diffusion| adc map")
DIFFUSION = words(
    "dwi dwis dw diff diffusion diffus diffusie diffusione difusion difusao diffusao dif dti dki dsi hardi noddi "
    "trace tracew tracewtracew dwibs dwssfse resolve ddwi edwi dwie dwise rdwi advdiff mddw ivim bval bvals bvalue "
    "calcbval tensor orthogonalxyz dtiepi epidwi msdwi focusdwi dwiepi colfa anisotropy ssepi dyndist"
)
B_VALUE_PHRASE = re.compile(r" b (?:50|[1-9]\d{2,3}) ")
B_VALUE = re.compile(r"b(?:50|[1-9]\d{2,3})t?")
DYNAMIC = words(
    "dce dyn dynamic dynamics dynamisch dynamique dinamico dinamica dinamicas dynaviews dynviews dyna twist tricks "
    "disco mphase mph multiphase multiphases dynam dynamik dynamische din dinam trak 4dtrak dyno multiphasic"
)
DYNAMIC_PHRASE = re.compile(
    r" (?:multi|m) ph(?:ase)?s?(?= )|^(?: \w+){0,2} ph ?\d+ (?=ax|cor|sag|3 d)|^ ph ?\d+ "
    r"| time resolved | pre (?:and |x )?(?:\d+ )?posts? "
)
ANGIOGRAPHY = words(
    "mra mrv angio angiography angiographie angiografie angiografia tof tofmra venogram venography inflow mrangio "
    "cemra angioresonancia qiss mrav 2dtof 3dtof tof3d tof2d mpca pca arteriography inhance angiogramm"
)
ANGIOGRAPHY_PHRASE = re.compile(r" time of flight | phase contrast (?:mr)?[av]| pc mr[av] | circle of willis ")
BALANCED = words(
    "fiesta fiestac fsfiesta trufi truefisp trufisp truesp bffe btfe bssfp ssfp tfi ciss balanced ci3d basg hyce "
    "truessfp truefi fiesta2d fiesta3d ubtfe bsteady"
)
BALANCED_PHRASE = re.compile(r" b (?:ffe|tfe) | true (?:fisp|ssfp) | steady state ")
# No image of one weighting: maps, function, flow, calibration, spectra.
FUNCTIONAL = words(
    "bold fmri rsfmri fieldmap fieldmaps fmap fieldmapping b0map b1map phasemap calibration calibrations cal refscan "
    "spectroscopy svs csi press mrsi mrs mrspec spectro elastography mre t1map t2map t1mapping t2mapping t1maps "
    "t2maps t1rho mapping molli shmolli relaxometry r2star pdff fatfrac qdixon idealiq qmt mtr bloch siegert tagging "
    "tagged spamm venc qflow flowquant 4dflow fingerprint mrf afi mrac eppi espectroscopia spektroskopie "
    "spectroscopie spettroscopia stiffness kalibrierung elastografia t2starmap b0"
)
FUNCTIONAL_PHRASE = re.compile(
    r" t ?[12] ?(?:star |rho |relax\w* )?map\w*| field map| b ?[01] ?map| phase map| asset cal| ref(?:erence)? scan |"
    r" fat fraction| ideal iq | flow (?:quant|sensitive)| q flow | 4 d flow | coil sens| resting state| b 0 3 d "
)
SUSCEPTIBILITY = words(
    "t2star swi swan eswan swip medic merge hemo hemoflash venobold susceptibility swim swis qsm venbold hemorrhage "
    "swieip"
)
T1_GRADIENT = words(
    "mprage memprage mempr mp2rage rage bravo vibe starvibe thrive ethrive xthrive lava vibrant fspgr spgr irspgr "
    "irfspgr tfl t1tfe t1ffe tfe3d1 rodeo bliss views dynaviews fame quick3d tigre vib vibran brava lge"
)
# Dixon of Philips is a gradient echo unless a turbo spin echo or T2 is named beside it.
DIXON = words("mdixon mdix smdixon")
GRADIENT_ECHO = (
    T1_GRADIENT
    | SUSCEPTIBILITY
    | words(
        "gre fgre gradient gradiente gradienten gradientenecho gradientecho eg flash fl efgre efgre3d ffe tfe fisp fi "
        "psif dess fspgr3d grass rssg sarge fe fe2d fe3d ffe3d lufgre lufgre3d 3dfgre 3dgre 2dfgre t2ffe t2tfe mpgr "
        "mge turboflash snapshot mdeft modeft ute zte petra wats proset cosmic fldyn me3d me2d mfgre mffe mgre 3dffe "
        "3dtfe gradecho xbone tricks twist disco"
    )
)
SPIN_ECHO = words(
    "se tse fse ufse frfse ssfse haste hst space spc spcir spcr cube vista brainview spineview propeller blade "
    "multivane mvxd tir tirm rare turborare msme sshtse sstse ssh uhste isofse fastse spin etse fase fase2d fase3d "
    "fse2d fse3d se2d se3d mx3d arms drive restore rst tse3d 3dfse 2dfse 3dtse primefse turbose turbospin fastspin "
    "jet ctse memp rtse frfsexl fsexl spcrst spcdf frfseopt"
)
# A single shot of spin echoes is T2-weighted by nature, and seldom says so; so is fluid alone.
SINGLE_SHOT_PHRASE = re.compile(r" s ?s (?:fse|tse) | single shot ")
SINGLE_SHOT = words(
    "ssfse haste hst sshtse sstse sshot uhste fase mrcp myelo myelogram myelography myelographie colangio cholangio "
    "cholangiography colangiografia colangiorm mrmyelo bili cprm"
)
ECHO_PLANAR = words("epi ep epfid epse epb ep2d fmri bold dtiepi dwiepi epidwi ep3d")
# A plain "h" is HASTE in Siemens' own names of sequences, and nowhere else.
PULSE_SPIN_ECHO = SPIN_ECHO | words("h hsf fir fir2d fir3d")
FLAIR = words("flair flairs darkfluid turboflair fastflair flairfs flairsense darkfl eflair")
FLAIR_PHRASE = re.compile(r" dark ?fl(?:uid|uids)?(?= )| fluid attenuat\w*| fl u?id dark ")
PROTON_DENSITY = words("pd dp pdw pdfs dpfs proton protonen protonica densitepd rho pdspair pdspir pdtse")
IN_OPPOSED = re.compile(
    r" ip op | op ip | ip $|(?<!pre)(?<!post) op $| (?:in?|o) phase | in ?phase | in (?:and )?(?:opp|out|op)\w*"
    r"| (?:opp|out)\w* (?:of )?phase | opp(?:osed)? | dixon in | (?:dual|double) echo "
)

# One level over and over, to see the agent arrive.
BOLUS_TIMING = re.compile(
    r" smart ?prep| bolus ?tra[ck]k?\w* | timing run | (?:pre ?)?monitoring | (?:test|timing) (?:bolus|dose|inj\w*)"
    r"| bolus (?:track\w*|timing|test|prep)| locator bolus| sure ?start| care bolus | tracker | testbolus "
    r"| timing scan "
)

# CT
LONE_BOLUS = re.compile(r" bolus (?!agent)")
CT_DERIVED = words(
    "mip mips minip vrt ssd fused screenshot screensave report reports summary rendering rendered segmentation "
    "posdisp collage zeff curved cad avgip aveip"
)
CT_DERIVED_PHRASE = re.compile(
    r" dose (?:report|info|sheet|record|summary)| screen ?sav\w*| patient protocol | exam (?:protocol|summary)|"
    r" processed images | (?:3 d|volume|vol) (?:render\w*|vr)| 3 d (?:saved|images? saved)"
    r"| iodine (?!contrast)| z eff| calcium suppress\w*| lung pbv | ave?g? ip | electron density | effective z "
    r"| vessel suppress| detect index | results? (?:mm|mr|ct) | captured images | min ip | max ip | ct (?:vr|ssd) "
    r"| dect lung | uric acid | monosodium | effective atomic"
)
CT_RAW = re.compile(r" (?:full|low|quarter) dose projections? | projection data | tomosynthesis ")
# The filter that Siemens reconstructs nothing but topograms with.
CT_TOPOGRAM_KERNEL = re.compile(r"t2\d[fsu]|tr2\d[fsu]?")
TRIAL_LOCALIZER = re.compile(r"\d,[od][ps]l,")
CT_MAPS = MAPS - {"ve", "vp", "ser", "wash", "slope", "slopes"}
CT_MAPS_PHRASE = re.compile(r" perf\w* maps? ")
