-- Run once, when the data folder is made. `lockgate` holds the ledger, `dagster` what Dagster stores.
CREATE DATABASE lockgate;
CREATE DATABASE dagster;
