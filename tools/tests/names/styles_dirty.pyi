from tests.foreign.styles_dirty import *
