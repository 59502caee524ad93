from tests.refdriver.raw_client import *
