"""What tests start: hubs, scripted upstreams, repositories."""
