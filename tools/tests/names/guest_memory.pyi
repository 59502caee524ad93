from tests.refdriver.guest_memory import *
