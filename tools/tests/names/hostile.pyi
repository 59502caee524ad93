from tests.results.hostile import *
