from tests.refdriver.test_refdriver_users import *
