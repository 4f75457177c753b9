comment on table sides is 'One row per side of the split: its size, and why it is empty if it is.';

comment on column sides.split is 'train or eval';
comment on column sides.incidents is 'passing incidents on this side';
comment on column sides.records is 'records on this side, those from augmentation included';
comment on column sides.share is 'share of the passing incidents on this side';
comment on column sides.share_asked is 'share that the recipe asks for';
comment on column sides.uneven is
'whether the share is less than half or more than twice what is asked for';
comment on column sides.reason is
'why the side has no record; null if it has some or none is asked for';
