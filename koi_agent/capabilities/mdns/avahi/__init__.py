"""mDNS through avahi-daemon."""
