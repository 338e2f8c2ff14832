-- Add columns to the orders, or widen some. Both servers add columns instantly, whatever the table's size.
ALTER TABLE {orders}
  {changes}
