from tests.foreign.profiles import *
