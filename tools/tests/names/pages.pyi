from tests.results.pages import *
