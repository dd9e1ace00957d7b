"""Target histogram of protein density."""
import json
from pathlib import Path
import numpy as np
QUANTILES = np.concatenate([[0.001,0.0025,0.005], np.linspace(0.01,0.99,50),[0.995,0.9975,0.999]])
def sharpness(reflections, f):
    power = reflections.multiplicity*f**2
    return float((power*reflections.inverse_d_squared).sum()/power.sum())
def target(d_min):
    t = json.loads((Path(__file__).parent/"histograms.json").read_text())
    q = np.array(t["quantiles"])
    return np.array(t["probability"]), np.array([np.interp(d_min, t["d_min"], c) for c in q.T]), float(np.interp(d_min,t["d_min"],t["contrast"]))
