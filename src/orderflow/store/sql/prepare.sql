PREPARE asked FROM %s
