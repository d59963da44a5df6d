"""The way in: a vendor's call becomes an event on disk, and the vendor's own words say so."""
