"""The frozen inputs of a case: how a snapshot is made, checked, masked and shown."""
