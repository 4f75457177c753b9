comment on table source_files is 'One row per source file that was read.';

comment on column source_files.file is 'name of the file';
comment on column source_files.role is
'summaries, cause_risk, summary judge or cause_risk judge';
comment on column source_files.sha256 is 'SHA-256 of the file on disk, in hexadecimal';
comment on column source_files.bytes is 'size of the file on disk, in bytes';
comment on column source_files.synthetic is 'whether the file says that a program made it up';
comment on column source_files.rows_read is 'number of rows, rejected ones included';
comment on column source_files.rows_rejected is 'number of rows that were rejected as a whole';
