from tests.fuzz.campaign import *
