from tests.clients.clients import *
