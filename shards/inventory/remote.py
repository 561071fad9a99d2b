def from_url(*a):
    raise NotImplementedError


def from_folder(*a):
    raise NotImplementedError
