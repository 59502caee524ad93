from tests.refdriver.test_refdriver_data_defects import *
