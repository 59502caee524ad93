from tests.foreign.matrix import *
