from tests.foreign.kit_matrix import *
