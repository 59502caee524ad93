from tests.transport.scripted_server import *
