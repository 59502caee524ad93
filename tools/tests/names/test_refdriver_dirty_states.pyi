from tests.refdriver.test_refdriver_dirty_states import *
