from tests.refdriver.test_refdriver_sessions import *
