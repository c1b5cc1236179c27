"""The command `tidemill`. Each module holds one group of commands and is imported when it is called."""
