"""What the engines report to metrics and logs: plain values, and the datagrams in which workers send them."""
