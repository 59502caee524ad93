from tests.foreign.styles_answers import *
