from tests.refdriver.dirty_bench import *
