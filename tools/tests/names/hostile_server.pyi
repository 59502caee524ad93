from tests.fuzz.hostile_server import *
