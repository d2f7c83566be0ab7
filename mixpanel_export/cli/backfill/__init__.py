"""
History into Mixpanel: what ``mixpanel-export import`` does.

::

    _trouble    what is wrong with a source or a record, and where
    _sources    arguments -> sources: files, globs, addresses, standard input
    _streams    source -> pieces of plain bytes
    _pieces     pieces -> lines, or the elements of a JSON array, with their numbers
    _formats    source -> chunks of records, in whichever format it is
    _tables     the formats with columns: CSV, Parquet
    _access     the format of web servers' access logs
    _moments    times in the forms in which people write them
    _mapping    record -> event or update
    _express    the short way for what is an event already, and sent as it stands
    _maker      chunk -> lines, or why there is none
    _parcel     lines -> parcels, each as much as a request may carry
    _window     how many requests may be under way
    _shipping   parcels -> outcomes, on several connections
    _journal    what is settled, on disk
    _books      what became of each record
    _run        all of it together
    _show       how far it is, and the ledger

A record has a *number* in its source: its line, or its place in a JSON array or a table, from 1 on.
A parcel remembers the numbers of its records; when it is settled they are written to the journal,
and the next run leaves them out.
"""
