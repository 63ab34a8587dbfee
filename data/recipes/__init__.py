"""Recipes: data sets with their published protocols, one file each in configs/recipes."""
