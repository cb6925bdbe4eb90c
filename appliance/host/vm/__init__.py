"""A virtual machine for the appliance on the hospital's Proxmox VE."""
