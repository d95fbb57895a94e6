"""Cutover: shadow, canary, cut over, standby, decommissioned (DESIGN section 9). Built by a later issue; nothing is here yet."""
