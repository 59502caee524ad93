from tests.descriptors import *
