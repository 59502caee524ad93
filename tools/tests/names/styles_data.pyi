from tests.foreign.styles_data import *
