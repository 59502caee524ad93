from tests.foreign.style import *
