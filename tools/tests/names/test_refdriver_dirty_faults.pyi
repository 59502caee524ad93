from tests.refdriver.test_refdriver_dirty_faults import *
