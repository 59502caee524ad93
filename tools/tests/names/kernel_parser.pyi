from tests.results.kernel_parser import *
