"""A recipe: its sections and bounds, its file, its smoke variant.

In scope: the shape of a recipe, overrides, where a recipe is found. Out of scope: what its names stand for
(the registries know), torch, the network, any file but the recipe.
"""
