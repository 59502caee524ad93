from tests.foreign.styles_life import *
