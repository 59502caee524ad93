from tests.foreign.styles import *
