from tests.fuzz.text_mutation import *
