-- Create a user for OrderFlow.
CREATE USER IF NOT EXISTS {user} IDENTIFIED BY 'change-me'{encryption}
