from tests.refdriver.test_refdriver_dirty_ranges import *
