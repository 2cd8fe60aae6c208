create database if not exists {database:Identifier} $on_cluster
