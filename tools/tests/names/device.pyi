from tests.foreign.device import *
