"""The statistics behind every number: paired by case, clustered by date, exact where samples are small."""
