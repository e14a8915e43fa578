"""Experiments as data: the grids behind published tables, run over your stores, and the table that comes of it.

>>> from training.experiments import find_experiment, plan, run_cell, write_table
>>> grid = plan(find_experiment("pdgan-intra"), ["stores/celeba"], seeds=[0, 1, 2])
>>> results = [run_cell(cell, Path("runs/intra")) for cell in grid.cells]
>>> write_table(grid, results, Path("runs/intra"))
"""

from training.experiments.cell import Cell, run_cell
from training.experiments.experiment import Experiment, Row, experiments, find_experiment
from training.experiments.grid import Grid, plan
from training.experiments.table import write_table

__all__ = ["Cell", "Experiment", "Grid", "Row", "experiments", "find_experiment", "plan", "run_cell", "write_table"]
