"""How the tables came to be what they are; run by `meshwright.service.store.migrate`."""
