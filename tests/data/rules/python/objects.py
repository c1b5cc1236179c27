import json
import pickle

import yaml
from flask import request


def load(path):
    pickle.loads(request.data)  # finds: python-insecure-deserialization
    json.loads(request.data)
    with open(path, "rb") as file:
        pickle.load(file)  # finds: python-unsafe-loader
    yaml.load(path, Loader=yaml.Loader)  # finds: python-unsafe-loader
    yaml.load(path, Loader=yaml.SafeLoader)
    yaml.safe_load(path)
