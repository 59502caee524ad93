from tests.fuzz.hostile_client import *
