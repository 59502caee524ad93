from tests.fuzz.mutation import *
